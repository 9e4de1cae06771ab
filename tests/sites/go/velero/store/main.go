// Copyright (c) 2026, Muster contributors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Velero's plugin for a bucket that speaks S3, as little of it as a backup and a restore need; the usual one is no Go
// module that can be had.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/manager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/sirupsen/logrus"
	"github.com/vmware-tanzu/velero/pkg/plugin/framework"
)

type store struct{ client *s3.Client }

func (s *store) Init(options map[string]string) error {
	roots := x509.NewCertPool()
	if pem := options["caCert"]; pem != "" && !roots.AppendCertsFromPEM([]byte(pem)) {
		return errors.New("caCert holds no certificate")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	settings := []func(*config.LoadOptions) error{
		config.WithRegion(options["region"]),
		config.WithHTTPClient(&http.Client{Transport: transport}),
	}
	if file := options["credentialsFile"]; file != "" {
		settings = append(settings, config.WithSharedCredentialsFiles([]string{file}))
	}
	loaded, err := config.LoadDefaultConfig(context.Background(), settings...)
	if err != nil {
		return err
	}
	s.client = s3.NewFromConfig(loaded, func(o *s3.Options) {
		o.BaseEndpoint = aws.String(options["s3Url"])
		o.UsePathStyle = true
	})
	return nil
}

func (s *store) PutObject(bucket, key string, body io.Reader) error {
	_, err := manager.NewUploader(s.client).Upload(context.Background(),
		&s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: body})
	return err
}

func (s *store) ObjectExists(bucket, key string) (bool, error) {
	_, err := s.client.HeadObject(context.Background(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	var missing *types.NotFound
	if errors.As(err, &missing) {
		return false, nil
	}
	return err == nil, err
}

func (s *store) GetObject(bucket, key string) (io.ReadCloser, error) {
	found, err := s.client.GetObject(context.Background(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	return found.Body, nil
}

func (s *store) list(bucket, prefix, delimiter string, each func(*s3.ListObjectsV2Output)) error {
	input := &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix}
	if delimiter != "" {
		input.Delimiter = &delimiter
	}
	for pages := s3.NewListObjectsV2Paginator(s.client, input); pages.HasMorePages(); {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			return fmt.Errorf("list %s of bucket %s: %w", prefix, bucket, err)
		}
		each(page)
	}
	return nil
}

func (s *store) ListCommonPrefixes(bucket, prefix, delimiter string) (found []string, err error) {
	err = s.list(bucket, prefix, delimiter, func(page *s3.ListObjectsV2Output) {
		for _, one := range page.CommonPrefixes {
			found = append(found, *one.Prefix)
		}
	})
	return found, err
}

func (s *store) ListObjects(bucket, prefix string) (found []string, err error) {
	err = s.list(bucket, prefix, "", func(page *s3.ListObjectsV2Output) {
		for _, one := range page.Contents {
			found = append(found, *one.Key)
		}
	})
	return found, err
}

func (s *store) DeleteObject(bucket, key string) error {
	_, err := s.client.DeleteObject(context.Background(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &key})
	return err
}

func (s *store) CreateSignedURL(bucket, key string, ttl time.Duration) (string, error) {
	signed, err := s3.NewPresignClient(s.client).PresignGetObject(context.Background(),
		&s3.GetObjectInput{Bucket: &bucket, Key: &key}, s3.WithPresignExpires(ttl))
	if err != nil {
		return "", err
	}
	return signed.URL, nil
}

func main() {
	framework.NewServer().
		RegisterObjectStore("velero.io/aws", func(logrus.FieldLogger) (any, error) { return &store{}, nil }).
		Serve()
}
